"""The version is that of the whole project, which its CMakeLists.txt says."""

import re
from pathlib import Path

from setuptools import setup

PROJECT = (Path(__file__).resolve().parents[1] / "CMakeLists.txt").read_text()

setup(version=re.search(r"^project\(\w+ VERSION ([\d.]+)", PROJECT, re.MULTILINE)[1])
