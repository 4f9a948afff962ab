"""The simulator: a model of KVM's shadow MMU."""
