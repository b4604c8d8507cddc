"""The admin listener: one file a resource, with plain functions; routes.py leads to them."""

from proxy.admin.health import own_page
from proxy.admin.routes import admin_application
from proxy.admin.state import HEALTHY, AdminState

__all__ = ["HEALTHY", "AdminState", "admin_application", "own_page"]
