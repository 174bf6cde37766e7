"""The payment processor on Faust as it ships, for the comparison."""
