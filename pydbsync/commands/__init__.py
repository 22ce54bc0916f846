"""The commands of the operator's tools, one module each; `register` adds them to the application."""
