"""The server: knows the wire, the order of steps and the operator."""
