"""Globus Auth and Globus Transfer, as far as the platform uses them, enforcing what the services enforce.

Shapes and codes are those of globus-sdk 4.9 (its client source and the responses in ``globus_sdk.testing``) and of
docs.globus.org/api/transfer; where neither states a code, the module that uses it says so.
"""
