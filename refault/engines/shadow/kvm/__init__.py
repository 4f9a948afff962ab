"""What KVM does, in functions under KVM's names."""
