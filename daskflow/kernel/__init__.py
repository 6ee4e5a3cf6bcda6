"""The kernel: records calls, submits them as graphs, and resolves their futures."""
