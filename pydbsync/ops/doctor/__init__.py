"""Looks at everything before the first run, and any time after: what is wrong, and the exact remedy. Changes
nothing."""
