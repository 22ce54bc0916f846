"""Rehearse, cutover, rollback and failover: a migration's switch as steps that can be undone, and gone on with."""
