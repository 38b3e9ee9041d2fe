// The host's home of the unit tests: runs them in order, prints one line for each, exits 0 when all passed, 1
// when some failed, 2 for a wrong command line, 3 when one hangs; a crash ends it with its signal, after its
// name.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"
#include "mm/host/panic.hpp"
#include "tests/unit/host_world.hpp"
#include "tests/unit/unit.hpp"

extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());
extern "C" const char* __ubsan_default_options();  // asked by UBSan, which knows no callback
extern "C" void __tsan_on_report(void* report);    // called by TSan for each race that it reports

namespace {

constexpr int kHangs = 3;  // exit status

constexpr char kUsage[] =
    "usage: unit [--seed=N] [--deadline=N] [--list] [FILTER]\n"
    "  FILTER      suite, suite.name, or the beginning of one of them\n"
    "  --seed      what random tests start from (default 1)\n"
    "  --deadline  seconds for each test (default 40; 0: none, for a debugger)\n"
    "  --list      print the names and run nothing\n";

struct Options {
  std::string_view filter;
  std::uint64_t seed = 1;
  unsigned deadline = 40;  // far above what the slowest takes under TSan on a busy machine
  bool list = false;
};

Options options;
std::atomic<unsigned> failures_here{0};  // of the running test; threads of a test fail too

std::optional<Options> parse(int count, char** words) {
  Options parsed;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--list") {
      parsed.list = true;
    } else if (word.starts_with("--seed=")) {
      const auto seed = memory::parse_number(word.substr(7));
      if (!seed.ok()) return std::nullopt;
      parsed.seed = seed.take();
    } else if (word.starts_with("--deadline=")) {
      const auto seconds = memory::parse_number(word.substr(11));
      if (!seconds.ok() || seconds.take() > 86400) return std::nullopt;
      parsed.deadline = static_cast<unsigned>(seconds.take());
    } else if (!word.starts_with("-") && parsed.filter.empty()) {
      parsed.filter = word;
    } else {
      return std::nullopt;
    }
  }
  return parsed;
}

// -- ends that no test comes back from still name the test

const unit::Test* running = nullptr;

void name_the_culprit(const char* end) {
  if (running == nullptr) return;
  char line[256];
  const int size = std::snprintf(line, sizeof line, "not ok %s.%s (%s:%d): it %s\n", running->suite,
                                 running->name, running->file, running->line, end);
  [[maybe_unused]] const auto written = write(STDOUT_FILENO, line, static_cast<std::size_t>(size));
}

void on_crash(int number) {
  name_the_culprit("crashed");
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void on_deadline(int) {
  name_the_culprit("hangs");
  _exit(kHangs);
}

// A sanitizer reports crashes better than we could: it is only asked to say last where it was.
void watch_the_tests() {
  std::signal(SIGALRM, on_deadline);
  std::signal(SIGABRT, on_crash);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback([] { name_the_culprit("crashed"); });
    return;
  }
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(number, on_crash);
}

// Runs one test to its end, or to the panic or exception that it did not expect.
bool passes(const unit::Test& test) {
  failures_here = 0;
  running = &test;
  alarm(options.deadline);
  const memory::lock_order::Snapshot before;
  try {
    test.body();
  } catch (const std::exception& error) {
    unit::fail(std::string("ended by: ") + error.what(), test.file, test.line);
  }
  const memory::lock_order::Snapshot after;
  if (!after.empty()) unit::fail("left a lock rank held", test.file, test.line);
  before.restore();
  alarm(0);
  running = nullptr;
  unit::end_world();
  return failures_here == 0;
}

int run(const char* program) {
  unsigned passed = 0;
  unsigned failed = 0;
  for (const unit::Test* test = unit::Test::first; test != nullptr; test = test->next) {
    if (!test->matches(options.filter)) continue;
    if (options.list) {
      std::printf("%s.%s\n", test->suite, test->name);
      continue;
    }
    const bool ok = passes(*test);
    ++(ok ? passed : failed);
    std::printf("%s %s.%s\n", ok ? "ok    " : "not ok", test->suite, test->name);
    if (!ok)
      std::printf("  repeat: %s --seed=%llu %s.%s\n", program, static_cast<unsigned long long>(options.seed),
                  test->suite, test->name);
    std::fflush(stdout);  // before a crash of the next
  }
  if (options.list) return 0;
  if (passed + failed == 0) {
    std::fprintf(stderr, "unit: no test matches \"%s\"; --list shows them\n",
                 std::string(options.filter).c_str());
    return 2;
  }
  std::printf("%u passed, %u failed (seed=%llu)\n", passed, failed,
              static_cast<unsigned long long>(options.seed));
  return failed == 0 ? 0 : 1;
}

}  // namespace

void unit::fail(std::string_view what, const char* file, int line) {
  ++failures_here;
  std::printf("  %s:%d: %.*s\n", file, line, static_cast<int>(what.size()), what.data());
  std::fflush(stdout);  // before a crash
}

std::string_view unit::caught_panic(void (*body)(void*), void* context) {
  static std::string reason;
  const memory::lock_order::Snapshot before;
  try {
    body(context);
    return {};
  } catch (const memory::host::Panic& panic) {
    reason = panic.what();
  }
  before.restore();
  return reason;
}

extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:abort_on_error=1"; }
extern "C" void __tsan_on_report(void*) { ++failures_here; }

std::uint64_t unit::seed() { return options.seed; }

int main(int count, char** words) {
  const std::optional<Options> parsed = parse(count, words);
  if (!parsed) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  options = *parsed;
  unit::Test::sort();
  watch_the_tests();
  return run(words[0]);
}
