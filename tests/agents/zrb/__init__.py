"""Tests of LLM tasks in the real `zrb`, of each supported release."""
