"""placeholder, rules come"""
class EventRules:
    def __init__(self, header): pass
    def check(self, block, *, offset): pass
    def finish(self, *, offset): pass
