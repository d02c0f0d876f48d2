"""Globus Compute: functions, tasks and endpoints over HTTP, and processes that run what the client has serialized."""

from twin.compute.app import create_app as create_app
from twin.compute.control import create_control_app as create_control_app
from twin.compute.service import Compute as Compute
