"""KVM's shadow MMU, in functions under KVM's names."""
