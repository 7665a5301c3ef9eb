"""Judgement: of a model, of an indicator, of a service."""
