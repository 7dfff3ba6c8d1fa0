"""MedEyes for veRL: clinician-like gazes, expert trajectories and dual-stream GRPO as a plugin.

Holds the version and nothing else. veRL loads our entry point while it is itself being imported, so a
package root that imported veRL (or anything of ours that does) would lose its registrations.
"""

__version__ = "0.1.0"
