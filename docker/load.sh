#!/bin/sh
# Fill a hospital's database with simulated patients where it has none, and take the records out of it.
# A real hospital has its own database: only the second step stays. Everything happens once; what is there is kept.
set -eu

name=$1
number=$2
patients=$3
url="postgresql+psycopg://hospital@$name-database/omop"

if [ -d /records/data ]; then
    echo "the records of $name are there"
    exit 0
fi

# libpq takes a password from a file that only its owner can read; the secret's own permissions are not ours to choose.
umask 077
printf '*:*:*:hospital:%s\n' "$(cat /run/secrets/database-password)" > /tmp/pgpass
export PGPASSFILE=/tmp/pgpass

# An export is one transaction, so a database that has persons has everything.
if ! python -c "import psycopg, sys; c = psycopg.connect('host=$name-database user=hospital dbname=omop'); sys.exit(not c.execute(\"SELECT to_regclass('person')\").fetchone()[0])"; then
    wardround data simulate /tmp/simulated --hospitals 3 --patients "$patients" --seed 7
    wardround data export omop "/tmp/simulated/hospital-$number" "$url"
    cp "/tmp/simulated/hospital-$number/policy.toml" /records/policy.toml
fi

rm -rf /records/loading
wardround data ingest omop "$url" /records/loading --site-id "$name" --seed 7
if [ -f /records/policy.toml ]; then # the site begins with it
    mv /records/policy.toml /records/loading/policy.toml
fi
mv /records/loading /records/data
