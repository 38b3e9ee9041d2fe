// `ktest`: the unit tests of the host, run in the kernel. This file answers the harness's hooks.
// SPDX-License-Identifier: MIT
#include "kernel/console.hpp"
#include "kernel/panic.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/ktest_world.hpp"
#include "mm/base/sync.hpp"
#include "tests/unit/unit.hpp"

namespace kernel::shell {

namespace {

struct Run {
  Call* call = nullptr;
  const unit::Test* test = nullptr;
  std::uint64_t seed = 1;
  unsigned passed = 0;
  unsigned failed = 0;
  unsigned current_failures = 0;
};
constexpr unsigned kMostShown = 5;  // of one test: a statement in a loop must not bury the others
constinit Run run{};
constinit bool sorted = false;

// A failed statement, in the array that run_ktest() has open.
void describe_failure(std::string_view what, const char* file, int line) {
  memory::TextBuffer<64> test;
  test.text(run.test->suite).text(".").text(run.test->name);
  memory::TextBuffer<96> where;
  where.text(file).text(":").number(line);
  memory::Inspector& out = run.call->out();
  out.begin_object("", memory::Layout::lines);
  out.text("test", test.view());
  out.text("where", where.view());
  out.text("what", what.substr(0, 200));
  out.end_object();
}

void run_one(const unit::Test& test) {
  run.test = &test;
  run.current_failures = 0;
  memory::TextBuffer<96> name;
  name.text("in unit test ").text(test.suite).text(".").text(test.name);
  set_activity(name.view());  // a panic that no test expects is final, and names the test
  test.body();
  end_test_world();
  set_activity({});
  if (!memory::lock_order::Snapshot().empty()) unit::fail("the test left a lock held", test.file, test.line);
  ++(run.current_failures > 0 ? run.failed : run.passed);

  memory::TextBuffer<96> line;
  line.text(run.current_failures > 0 ? "not ok " : "ok     ").text(test.suite).text(".").text(test.name);
  run.call->progress(line.view());
}

// "seed=N" wherever it stands, and one filter. False: the error is set.
bool parse(Call& call, std::string_view& filter) {
  constexpr std::string_view kSeed = "seed=";
  for (std::size_t i = 0; i < call.arguments(); ++i) {
    const std::string_view word = call.argument(i);
    if (word.substr(0, kSeed.size()) == kSeed) {
      const auto seed = call.number_in(word.substr(kSeed.size()), "seed", 0, ~std::uint64_t{0});
      if (!seed) return false;
      run.seed = *seed;
    } else if (filter.empty()) {
      filter = word;
    } else {
      call.error().text("one FILTER at a time");
      return false;
    }
  }
  return true;
}

}  // namespace

Status run_ktest(Call& call) {
  run = Run{.call = &call};
  std::string_view filter;
  if (!parse(call, filter)) return Status::invalid;
  if (unit::Test::first == nullptr) {
    call.error().text("this kernel was built without unit tests; use the debug profile");
    return Status::not_found;
  }
  if (!sorted) unit::Test::sort();
  sorted = true;

  memory::Inspector& out = call.out();
  out.begin_object("", memory::Layout::lines);
  out.begin_array("failures", memory::Layout::lines);
  bool interrupted = false;
  for (const unit::Test* test = unit::Test::first; test != nullptr && !interrupted; test = test->next) {
    if (test->matches(filter)) run_one(*test);
    interrupted = Call::interrupted();
  }
  out.end_array();
  release_test_storage();
  out.number("passed", run.passed, memory::Unit::none);
  out.number("failed", run.failed, memory::Unit::none);
  out.hex("seed", run.seed);
  out.end_object();
  if (interrupted) {
    call.error().text("interrupted by ^C");
    return Status::interrupted;
  }
  if (run.passed + run.failed == 0) {
    call.error().text("no test matches ");
    call.error().quoted(filter);
    return Status::not_found;
  }
  return Status::success;
}

}  // namespace kernel::shell

namespace unit {

void fail(std::string_view what, const char* file, int line) {
  using namespace kernel::shell;
  if (++run.current_failures <= kMostShown) describe_failure(what, file, line);
}

std::string_view caught_panic(void (*body)(void*), void* context) {
  return kernel::catch_panic(body, context);
}

std::uint64_t seed() { return kernel::shell::run.seed; }

}  // namespace unit
