"""Which extra brings which module, so that a command whose extra is absent says what to install.

The core imports none of these at start. A command imports one when it needs it; what it raises where the extra is
absent becomes one sentence here (cli/commands.py).
"""

from importlib.util import find_spec

INFERENCE = "gpu"
"""vLLM's extra; the sentence names `cpu` as well."""
EXTRA_OF = {
    "vllm": INFERENCE,
    "verl": "verl",
    "torch": "verl",
    "transformers": "verl",
    "tokenizers": "verl",
    "safetensors": "verl",
    "ray": "verl",
    "transfer_queue": "verl",
    "tensordict": "verl",
    "wrapt": "verl",
    "psutil": "verl",
    "pydicom": "dicom",
    "starlette": "demo",
    "uvicorn": "demo",
}
"""Module -> the extra of pyproject.toml that brings it."""


def require(module: str) -> None:
    """Stop before work is done that needs `module`. Raises ModuleNotFoundError, as the import itself would."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def advice(error: ModuleNotFoundError) -> str | None:
    """One sentence on what to install; None where no extra brings the module, which is then a defect."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(module)
    if extra is None:
        return None
    install = f"pip install 'medeyes-verl[{extra}]'"
    if extra == INFERENCE:
        install += " with an NVIDIA GPU, 'medeyes-verl[cpu]' without"
    return f"this needs {module}, which is not installed: {install}"
