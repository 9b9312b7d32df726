"""What can be done with chaos experiments."""
