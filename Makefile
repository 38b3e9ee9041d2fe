# Compile rules and targets; `make help` shows them. Everything else is in tools/: set-up in plain sh; the configuration
# header, the symbol table, the image and the artifact checks in Python.
# SPDX-License-Identifier: MIT
#
#   build/release, build/debug, build/guarded   coronel.elf, coronel.iso, libcoronel_mm.so
#   build/asan, build/tsan       the unit tests on the host (program `unit`)
#   build/fuzz, build/analyze    made by `make fuzz` and `make analyze`
#
# A target first makes the tools that it needs (order-only prerequisite `setup`). Each flavour of objects depends on a
# file with its whole compile command and on config_values.h, both rewritten only when they change.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/sh

# ---- variables for the command line ----------------------------------------------------------------------------------
profile ?= release
CXX := g++
WERROR := -Werror
FUZZ_SECONDS := 600
UNIT :=
SEED :=
PYTEST :=
ARGS :=
CPUS :=
V :=
PREFIX := /usr/local
DESTDIR ?=
PYTHON :=
# Once .tools is there it is used, until ROOTLESS=0 says otherwise.
ROOTLESS := $(if $(wildcard .tools/root),1)
CASE :=
MAKE_VARIABLES := CASE profile CXX WERROR FUZZ_SECONDS UNIT SEED PYTEST ARGS CPUS V JOBS PYTHON ROOTLESS PREFIX DESTDIR
ifneq ($(PYTHON),)
export PYTHON
endif
ifneq ($(ROOTLESS),)
export ROOTLESS
endif
ifneq ($(filter-out 0,$(ROOTLESS)),)
export PATH := $(CURDIR)/.tools/bin:$(PATH)
endif
PY := .venv/bin/python
Q := $(if $(V),,@)

# As many jobs as there are CPUs, unless -j says otherwise.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
ifeq ($(filter -j% --jobserver% --jobs%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(JOBS)
endif

# ---- which goal needs what ---------------------------------------------------------------------------------------------
build_goals := all debug release guarded image unit run
goals := $(or $(MAKECMDGOALS),help)
# Of which there are artifacts in build/NAME.
clang_goals := $(strip $(foreach goal,analyze fuzz,$(if $(filter $(goal) build/$(goal)/%,$(goals)),$(goal))))
setup_goals := $(strip \
  $(if $(filter setup profile $(build_goals) build/%,$(goals)),run) \
  $(if $(filter test gdb mutate format,$(goals)),test) \
  $(if $(filter test_python install uninstall components,$(goals)),build) \
  $(clang_goals) $(filter valgrind bench coverage,$(goals)))

.PHONY: help setup all debug release guarded run test test_python unit components image gdb analyze fuzz valgrind bench \
  profile coverage mutate install uninstall format clean doctor force
setup:
	@sh tools/bootstrap.sh $(setup_goals)

# ---- options of mm/base/config.def -------------------------------------------------------------------------------------
quote = '$(subst ','\'',$1)'
given := $(foreach v,$(.VARIABLES),$(if $(findstring command line,$(origin $v)),$v))
settings := $(foreach v,$(sort $(filter-out $(MAKE_VARIABLES),$(given))),$(call quote,$v=$($v)))

# $(call remember,FILE,TEXT,TARGET): TARGET is rebuilt when TEXT is not what FILE holds. No process is started to find
# out. (make 4.3 forgets at times to drop a file's last line break: hence strip.)
same = $(and $(findstring [$1],[$2]),$(findstring [$2],[$1]))
remember = $(if $(call same,$(strip $(file <$1)),$(strip $2)),,$(eval $3: force))

# ---- sources -----------------------------------------------------------------------------------------------------------
rwildcard = $(foreach d,$(wildcard $1/*),$(call rwildcard,$d,$2) $(filter $(subst *,%,$2),$d))
mm_sources := $(call rwildcard,mm,*.cpp)
mm_core := $(filter-out mm/host/%,$(mm_sources))
boot_cpp := $(wildcard boot/*.cpp)
unit_sources := $(filter-out tests/unit/host_%,$(wildcard tests/unit/*.cpp))
kernel_sources := $(wildcard boot/*.S) $(boot_cpp) $(call rwildcard,kernel,*.S) $(call rwildcard,kernel,*.cpp) $(mm_core)
host_test_sources := $(wildcard tests/unit/*.cpp) $(wildcard tests/host/*.cpp) $(boot_cpp) $(mm_sources)
fuzz_programs := $(patsubst tests/fuzz/%.cpp,build/fuzz/%,$(wildcard tests/fuzz/*_fuzz.cpp))

# ---- flags -------------------------------------------------------------------------------------------------------------
# Spelt out where distributions differ in their defaults.
warnings := -Wall -Wextra -Wshadow -Wconversion $(WERROR)
common_flags := -std=gnu++20 -g -I. -fno-omit-frame-pointer -fcf-protection=none -U_FORTIFY_SOURCE $(warnings)
kernel_flags := $(common_flags) -Ikernel/arch/x86_64/seam -ffreestanding -mcmodel=kernel -mno-red-zone \
  -mgeneral-regs-only -fno-exceptions -fno-rtti -fno-pic -fno-pie -fno-asynchronous-unwind-tables \
  -fno-threadsafe-statics -fno-use-cxa-atexit -fstack-protector-strong -mstack-protector-guard=global \
  -Wframe-larger-than=1024
host_flags := $(common_flags) -Imm/host/seam
# -u: the compiler emits calls of it after LTO has dropped what nobody calls.
kernel_link_flags := -Wl,-u,__stack_chk_fail -nostdlib -static -no-pie -Wl,-T,linker.ld -Wl,--build-id=sha1 -Wl,-z,max-page-size=4096 \
  -Wl,-z,noexecstack -Wl,--fatal-warnings

# g++ 14 takes a reference to a value in a table for one to a temporary. (g++ 12 does not know this warning.)
gcc_flags := -Wno-dangling-reference
release_flags := -O2 -flto=auto $(gcc_flags)
debug_flags := -Og $(gcc_flags)
asan_flags := $(gcc_flags) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
tsan_flags := $(gcc_flags) -O1 -fsanitize=thread
valgrind_flags := $(gcc_flags) -O1
# atomic: threads and CPUs count together.
gcov_flags := $(gcc_flags) -O0 -fprofile-arcs -ftest-coverage -fprofile-update=atomic
# The kernel has no libgcov: Python finds the counters by this section, and knows them by the number of their merge
# function, which nobody calls.
# Nothing is optimised, so each temporary of a test has a place of its own on the stack.
gcov_kernel_flags := $(gcov_flags) -fprofile-info-section -Wframe-larger-than=4096
gcov_link_flags := -Wl,--defsym=__gcov_merge_add=1
fuzz_flags := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
  -fprofile-instr-generate -fcoverage-mapping

# The compiler's own file: another version behind the same name compiles everything anew.
compiler_path = $(firstword $(realpath $(addsuffix /$1,$(subst :, ,$(PATH)))) $1)

# ---- rules made for each flavour -----------------------------------------------------------------------------------------
# $(call profile_rules,PROFILE): build/PROFILE/config_values.h, and config.given beside it, the settings it was made by.
define profile_rules
build/$1/config_values.h: mm/base/config.def tools/coronel/build/config.py | setup
	@$(PY) -IS tools/coronel/build/config.py --definitions mm/base/config.def --profile $1 --output $$@ $(settings)
	@printf '%s\n' $(call quote,$(settings)) >build/$1/config.given
$(call remember,build/$1/config.given,$(settings),build/$1/config_values.h)
endef

# $(call flavour,PROFILE,NAME,COMPILER,FLAGS,SOURCES): objects in build/PROFILE/NAME, listed in objects_PROFILE_NAME.
define flavour
flags_$1_$2 := $4
objects_$1_$2 := $(patsubst %,build/$1/$2/%.o,$(basename $5))
build/$1/$2.command: | setup
	@mkdir -p build/$1
	@printf '%s\n' $$(call quote,$$(call compiler_path,$3) $$(flags_$1_$2)) >$$@
$(call remember,build/$1/$2.command,$(call compiler_path,$3) $4,build/$1/$2.command)
build/$1/$2/%.o: %.cpp build/$1/$2.command build/$1/config_values.h | setup
	@mkdir -p $$(@D)
	$(if $(V),,@echo '  CXX   $1 $2 $$<')
	$(Q)$3 $4 -Ibuild/$1 $$(own_flags) -MMD -MP -c $$< -o $$@
build/$1/$2/%.o: %.S build/$1/$2.command build/$1/config_values.h | setup
	@mkdir -p $$(@D)
	$(if $(V),,@echo '  AS    $1 $2 $$<')
	$(Q)$3 $4 -Ibuild/$1 -MMD -MP -c $$< -o $$@
-include $$(objects_$1_$2:.o=.d)
endef

# The compiler emits calls of memcpy and its family on its own, so their definitions stay real functions: not calls
# of themselves, and not dropped by LTO before the calls exist.
build/%: own_flags =
# Nobody asks which lines of the unit tests ran, and counters for them would make the kernel too large for what a PC has
# below 8 MiB.
build/gcov/kernel/tests/%: own_flags = -Og -fno-profile-arcs -fno-test-coverage
$(foreach p,release guarded debug,build/$p/kernel/kernel/runtime/%): own_flags = -fno-lto -fno-builtin \
  -fno-tree-loop-distribute-patterns -fno-stack-protector

# GRUB's platforms that are installed: an image made before its UEFI part came is made again.
grub_platforms := $(sort $(patsubst %/modinfo.sh,%,$(wildcard .tools/root/usr/lib/grub/*/modinfo.sh \
  /usr/lib/grub/*/modinfo.sh)))

# $(call kernel_rules,PROFILE,FLAGS,LINK FLAGS): two links with the symbol table between them, then the artifact checks.
define kernel_rules
build/$1/coronel.unnamed.elf: $$(objects_$1_kernel) linker.ld
	$(if $(V),,@echo '  LINK  $$@')
	$(Q)$(CXX) $(kernel_flags) $2 $(kernel_link_flags) $3 -o $$@ $$(objects_$1_kernel)
build/$1/symbols.S: build/$1/coronel.unnamed.elf tools/coronel/build/symbols.py tools/coronel/artifact/elf.py
	@$(PY) -m coronel.build.symbols $$< --output $$@
build/$1/coronel.elf: build/$1/symbols.S tools/coronel/artifact/checks.py
	$(if $(V),,@echo '  LINK  $$@')
	$(Q)$(CXX) $(kernel_flags) -c build/$1/symbols.S -o build/$1/symbols.o
	$(Q)$(CXX) $(kernel_flags) $2 $(kernel_link_flags) $3 -o $$@ $$(objects_$1_kernel) build/$1/symbols.o
	@$(PY) -m coronel.build.symbols $$@ --verify
	@$(PY) -m coronel.artifact $$@ --profile $(if $(filter release guarded,$1),release,debug)
build/$1/image.platforms: | setup
	@mkdir -p build/$1
	@printf '%s\n' '$(grub_platforms)' >$$@
$(call remember,build/$1/image.platforms,$(grub_platforms),build/$1/image.platforms)
build/$1/coronel.iso: build/$1/coronel.elf boot/grub.cfg tools/coronel/build/image.py tools/coronel/build/efi.py \
  build/$1/image.platforms
	$(if $(V),,@echo '  ISO   $$@')
	@$(PY) -m coronel.build.image build/$1/coronel.elf --output $$@
build/$1/libcoronel_mm.so: $$(objects_$1_host)
	$(if $(V),,@echo '  LINK  $$@')
	$(Q)$(CXX) $(host_flags) $2 -shared -Wl,--no-undefined -o $$@ $$(objects_$1_host) -pthread
$1: build/$1/coronel.elf build/$1/coronel.iso build/$1/libcoronel_mm.so
endef

# Unit tests register themselves by constructors, which the release kernel does not have: debug only.
kernel_sources_release := $(kernel_sources)
kernel_sources_guarded := $(kernel_sources)
kernel_sources_debug := $(kernel_sources) $(unit_sources) $(wildcard tests/kernel/*.cpp)

define kernel_profile
$(call profile_rules,$1)
$(call flavour,$1,kernel,$(CXX),$(kernel_flags) $2,$(kernel_sources_$1))
$(call flavour,$1,host,$(CXX),$(host_flags) -fPIC $2,$(mm_sources))
$(call kernel_rules,$1,$2)
endef

define unit_rules
$(call flavour,$1,host,$(CXX),$(host_flags) $2,$(host_test_sources))
build/$1/unit: $$(objects_$1_host)
	$(if $(V),,@echo '  LINK  $$@')
	$(Q)$(CXX) $(host_flags) $2 -o $$@ $$(objects_$1_host) -pthread
endef

define unit_profile
$(call profile_rules,$1)
$(call unit_rules,$1,$2)
endef

define gcov_profile
$(call profile_rules,gcov)
$(call unit_rules,gcov,-fPIC $(gcov_flags))
$(call flavour,gcov,kernel,$(CXX),$(kernel_flags) $(gcov_kernel_flags),$(kernel_sources_debug))
$(call kernel_rules,gcov,$(gcov_kernel_flags),$(gcov_link_flags))
endef

# Only what the goals reach is expanded, so that `make run` does not read the dependencies of the sanitizers.
wants = $(filter $1 build/%,$(goals))
$(if $(call wants,all release coverage test_python install run test unit components valgrind image gdb bench profile mutate),$(eval $(call kernel_profile,release,$(release_flags))))
$(if $(call wants,all guarded coverage test bench mutate),$(eval $(call kernel_profile,guarded,$(release_flags))))
$(if $(call wants,all debug test_python coverage run test unit image gdb mutate),$(eval $(call kernel_profile,debug,$(debug_flags))))
$(if $(call wants,test unit mutate),$(eval $(call unit_profile,asan,$(asan_flags))))
$(if $(call wants,test unit mutate),$(eval $(call unit_profile,tsan,$(tsan_flags))))
$(if $(call wants,valgrind),$(eval $(call unit_profile,valgrind,$(valgrind_flags))))
$(if $(call wants,coverage),$(eval $(gcov_profile)))

ifneq ($(clang_goals),)
clang := $(shell sh tools/bootstrap.sh --clang-version)
CLANGXX := clang++-$(clang)
endif

# Every target of fuzzing is one program over all of mm/ and the parsers of boot/, built by clang.
define fuzz_rules
$(call profile_rules,fuzz)
$(call flavour,fuzz,host,$(CLANGXX),$(host_flags) $(fuzz_flags),$(boot_cpp) $(mm_sources))
$(call flavour,fuzz,target,$(CLANGXX),$(host_flags) $(fuzz_flags),$(wildcard tests/fuzz/*.cpp))
$(fuzz_programs): build/fuzz/%: build/fuzz/target/tests/fuzz/%.o $$(objects_fuzz_host)
	$(if $(V),,@echo '  LINK  $$@')
	$(Q)$(CLANGXX) $(fuzz_flags) -fsanitize=fuzzer -o $$@ $$^ -pthread
endef
$(if $(call wants,fuzz),$(eval $(fuzz_rules)))

# Clang compiles what GCC builds, for its lock analysis, and clang-tidy reads it by .clang-tidy.
analyze_flags := -O0 -Wthread-safety
define analyze_rules
$(call profile_rules,analyze)
$(call flavour,analyze,host,$(CLANGXX),$(host_flags) $(analyze_flags),$(boot_cpp) $(mm_sources))
build/analyze/tidy/%.ok: %.cpp build/analyze/host/%.o .clang-tidy
	@mkdir -p $$(@D)
	$(if $(V),,@echo '  TIDY  $$<')
	$(Q)clang-tidy-$(clang) --quiet --warnings-as-errors='*' $$< -- $(host_flags) -Ibuild/analyze 2>$$@.log \
	  || { cat $$@.log; exit 1; }
	@touch $$@
analyze: $(patsubst %.cpp,build/analyze/tidy/%.ok,$(boot_cpp) $(mm_sources))
endef
$(if $(call wants,analyze),$(eval $(analyze_rules)))

# ---- targets -------------------------------------------------------------------------------------------------------------
all: release debug guarded ## the kernel, its ISO image and the host library, in all profiles

debug: ## the same, debug profile (checks on; the kernel carries its unit tests)
release: ## the same, release profile (link-time optimisation)
guarded: ## the same, with the heap's guards: red zones, poison, who allocated and freed

image: build/$(profile)/coronel.iso ## the GRUB image

run: build/$(profile)/coronel.iso ## boot the image in QEMU; the console is this terminal
	@$(PY) -m coronel run $(if $(filter-out release,$(profile)),--profile $(profile)) $(if $(CPUS),--cpus $(call quote,$(CPUS))) $(ARGS)

# C programs as a user of the installed library writes them: they see its two headers by the names that these get there.
component_headers := $(addprefix build/components/include/coronel/,mm.h mm_host.h)
component_programs := $(patsubst tests/components/%.c,build/components/%,$(wildcard tests/components/*.c))
build/components/include/coronel/mm.h: mm/mm.h
build/components/include/coronel/mm_host.h: mm/host/mm_host.h
$(component_headers):
	@mkdir -p $(@D)
	@cp $< $@
$(component_programs): build/components/%: tests/components/%.c tests/components/component.h $(component_headers) \
  build/release/libcoronel_mm.so
	$(if $(V),,@echo '  CC    $<')
	$(Q)$(subst g++,gcc,$(CXX)) -std=c11 -O2 -g -Wall -Wextra $(WERROR) -Ibuild/components/include -o $@ $< \
	  -Lbuild/release -l:libcoronel_mm.so -Wl,-rpath,'$$ORIGIN/../release'

test: release debug guarded build/asan/unit build/tsan/unit $(component_programs) ## every test there is; PYTEST='...' passes arguments on
	@$(PY) -m pytest -n $(JOBS) $(PYTEST)

test_python: $(foreach p,release debug,build/$p/libcoronel_mm.so) $(component_programs) ## only what Python tests without a machine: tools, host library
	@$(PY) -m pytest -n $(JOBS) tests/tools tests/host --ignore tests/tools/test_unit_programs.py $(PYTEST)

# setarch -R: GCC 12's ThreadSanitizer dies where vm.mmap_rnd_bits is more than 28, as on many machines.
unit: build/asan/unit build/tsan/unit ## the unit tests on the host; UNIT=suite[.name] chooses, SEED=N repeats
	@UBSAN_OPTIONS=print_stacktrace=1 build/asan/unit $(if $(SEED),--seed=$(SEED)) $(UNIT)
	@setarch -R build/tsan/unit $(if $(SEED),--seed=$(SEED)) $(UNIT)

components: $(component_programs) | setup ## KOS's test_buddy, test_slab, test_kmalloc, test_pgtable: programs on the host library
	@for program in $(sort $^); do $$program || exit 1; done

# memcheck makes threads take turns and everything 30 times slower, hence the deadline of each test.
memcheck := valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible
valgrind: build/valgrind/unit $(component_programs) ## unit tests and components on the host under memcheck; UNIT= and SEED= as above
	@for program in $(sort $(component_programs)); do $(memcheck) $$program || exit 1; done
	@$(memcheck) --fair-sched=yes build/valgrind/unit --deadline=900 $(if $(SEED),--seed=$(SEED)) $(UNIT)

# The library as any program uses it, and the same work for malloc: build/bench/PROFILE has the programs on that profile's.
host_benches := $(addprefix build/bench/release/,pages_bench objects_bench heap_bench tables_bench rates_bench \
  threads_bench) build/bench/guarded/objects_bench
define host_bench_rules
$(filter build/bench/$1/%,$(host_benches)): build/bench/$1/%: bench/host/%.cpp bench/host/harness.hpp \
  build/$1/libcoronel_mm.so
	@mkdir -p $$(@D)
	$(if $(V),,@echo '  CXX   $1 $$<')
	$(Q)$(CXX) $(host_flags) -Ibuild/$1 -O2 -o $$@ $$(filter %.cpp %.o,$$^) \
	  -Lbuild/$1 -l:libcoronel_mm.so -Wl,-rpath,'$$$$ORIGIN/../../$1' -pthread
endef
$(foreach p,release guarded,$(eval $(call host_bench_rules,$p)))
build/bench/release/tables_bench: build/bench/table_loops.o bench/host/table_loops.h
build/bench/release/rates_bench: build/bench/object_loops.o bench/host/object_loops.h
build/bench/%_loops.o: bench/host/%_loops.c bench/host/%_loops.h mm/mm.h
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC    $<')
	$(Q)$(subst g++,gcc,$(CXX)) -std=c11 -O2 -Wall -Wextra -Werror -I. -c -o $@ $<

bench: release guarded $(host_benches) ## measure everything: a table with targets and peers, build/bench/result.json
	@$(PY) -m coronel bench $(ARGS)

profile: release ## where the guest instructions of a benchmark's case go; CASE=pair-0
	@$(PY) -m coronel profile $(if $(CASE),$(CASE)) $(ARGS)

coverage: $(addprefix build/gcov/,unit libcoronel_mm.so coronel.elf coronel.iso) release debug guarded ## lines that tests reach, here and in the kernel
	@$(PY) -m coronel.build.coverage --gcov $(subst g++,gcov,$(CXX)) --jobs $(JOBS) -- $(PYTEST)

gdb: build/$(profile)/coronel.elf ## boot paused, with GDB and Coronel's printers in this terminal
	@$(PY) -m coronel debug $(if $(filter-out release,$(profile)),--profile $(profile)) $(ARGS)

analyze: ## clang's lock analysis and clang-tidy over mm/ and the parsers of boot/

fuzz: $(fuzz_programs) ## every fuzzer for FUZZ_SECONDS; prints executions and line coverage
	@$(PY) -m coronel.build.fuzz --seconds $(FUZZ_SECONDS) --jobs $(JOBS) --llvm $(clang) $(fuzz_programs)

mutate: release debug build/asan/unit ## apply each defect of tests/mutations to a copy: a named test must fail
	@$(PY) -m coronel mutate $(ARGS)

# The library is the release profile's. What Python needs besides (tools/pyproject.toml) is not installed.
install: build/release/libcoronel_mm.so ## host library, its headers, the Python package; PREFIX=/usr/local DESTDIR=
	@$(PY) -m coronel.build.install install --prefix $(call quote,$(PREFIX)) --destdir $(call quote,$(DESTDIR)) --library $<

uninstall: | setup ## what the last install put there
	@$(PY) -m coronel.build.install uninstall --prefix $(call quote,$(PREFIX)) --destdir $(call quote,$(DESTDIR))

format: | setup ## rewrite C++ and Python in the one form that the tests accept
	@.venv/bin/ruff format -q . && .venv/bin/ruff check -q --fix --exit-zero .
	@.venv/bin/clang-format -i $(foreach d,boot kernel mm user tests bench,$(call rwildcard,$d,*.cpp *.hpp *.c *.h))

clean: ## remove build/ (not .venv)
	rm -rf build

doctor: ## what is present and what is missing; changes nothing
	@sh tools/doctor.sh

help: ## this list
	@echo 'make TARGET [option=value ...]'
	@sed -n 's/^\([a-z_]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r t h; do printf '  %-11s %s\n' $$t "$$h"; done
	@echo
	@echo 'variables: profile=release|debug  V=1 (show commands)  JOBS=N  CXX=g++-12  WERROR=  PYTHON=python3.12  FUZZ_SECONDS=600'
	@echo '           ROOTLESS=1 (set up without root: unpack Debian packages into .tools)'
	@echo '           CPUS=2 (of run, 1 to 16)  ARGS="..." (of run, gdb, bench, profile, mutate)  PYTEST="-k name" (of test)  UNIT=suite SEED=N (of unit)  CASE=pair-0 (of profile)  PREFIX=/usr/local DESTDIR= (of install)'
	@echo 'options (mm/base/config.def; each can be set by name, as in `make max_cpus=4 run`):'
	@sed -n 's/^OPTION([a-z_:0-9]*, *\([a-z_]*\), *\([a-z0-9]*\), *"\(.*\)")/\1|\2|\3/p' mm/base/config.def | \
	  while IFS='|' read -r n d h; do printf '  %-21s %-6s %s\n' "$$n" "$$d" "$$h"; done
