run test lint bench:
	./dev $@
.PHONY: run test lint bench
