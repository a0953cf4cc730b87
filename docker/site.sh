#!/bin/sh
# Make the hospital's site where there is none. Afterwards only the authority it trusts follows its secret: policy,
# approvals and records on the volume are the hospital's.
set -eu

if [ -f /site/site.toml ]; then
    cp /run/secrets/ca.crt /site/root.crt
    exit 0
fi

wardround site init /site --name "$1" --superlink proxy:8443 --root-certificate /run/secrets/ca.crt \
    --node-key /run/secrets/node.key --data /records/data --ledger /ledger/ledger.db
