"""The hospitals' application as a test wants to watch it: with questions and replies out of their parcels."""

from server.laboratory import client_application
from study.parcels import open_parcel


def open_application():
    """Return the application; what it is asked and what it answers lies open."""
    application = client_application()
    return lambda message, context: open_parcel(application(open_parcel(message), context))
