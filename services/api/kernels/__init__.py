"""Kernels: users' own trees and patches on them, built by workers."""
