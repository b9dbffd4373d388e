import sys

from .printing import main

sys.exit(main(sys.argv[1:]))
