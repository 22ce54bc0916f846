"""Parked changes as an operator mends them: found, shown, applied, edited and given up."""
