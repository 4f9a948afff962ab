"""The user's own Linux trees: the MMU code of one, compiled into a program that replays traces.

==============  ====================================================================
tree            a directory, a tarball, a package; what of it is read
settings        the configuration, ours for every tree
headers         what a configured tree has under ``generated``
capabilities    what a tree has and lacks, one table
units           the files that are compiled
runtime/        ours, in C (GPL-2.0-or-later): linked with the tree's
compiler        one unit, one program
steps           what a compiler's driver would start, one command each
confine         walls around compiler and program
patches         read from mail, applied
merging         a patch whose lines are others in this tree
build           all of it together, and the prefixes of a series
estimate        what builds would take
store           where builds are kept, and what they are called
check           what a kernel must show before it is used
==============  ====================================================================

The engine that runs them is :mod:`refault.engines.kernel`.
"""
