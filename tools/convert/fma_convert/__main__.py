"""python -m fma_convert"""

from .cli import main

main()
