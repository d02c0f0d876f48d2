"""Retention: what is recorded of copies, what may go, and letting it go with a certificate.

Belongs here: the meeting of the rules (beamlines.retention, beamlines.deletion) with Dagster's event log, the ledger
and the outside world. Does not: schedules (sensors.retention), or commands (als.retention).
"""
