// Use after free through our own allocator, reported by ASan at the guilty line. Each case dies in a child.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 2048)};

// What `body` printed in a child process; the child's exit status in `status`.
template <typename Body>
std::string printed_by(Body&& body, int& status) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 1; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  close(ends[0]);
  waitpid(child, &status, 0);
  return text;
}

volatile unsigned char seen;
[[gnu::noinline]] void guilty_read(const std::byte* at) { seen = static_cast<unsigned char>(*at); }
[[gnu::noinline]] void guilty_write(std::byte* at) { *at = std::byte{1}; }

}  // namespace

TEST(poison, use_after_free_is_reported_where_it_happens) {
  if (!unit::kAddressSanitizer) return;  // the pattern: buddy.a_write_after_free_is_found_...
  for (const unsigned offset : {0u, 4096u + 8, 32767u}) {
    World world({.memory = kMemory});
    ASSERT(world.ok());
    const auto frame = world->physical().allocate(Order{3});
    ASSERT(frame.ok());
    const FrameNumber number = frame.take();
    std::byte* const at = world->frames().open(number).bytes() + offset;
    guilty_write(at);  // ours
    ASSERT(world->physical().release(number, Order{3}).ok());

    int status = 0;
    const std::string after_read = printed_by([&] { guilty_read(at); }, status);
    EXPECT(status != 0);
    EXPECT(after_read.find("use-after-poison") != std::string::npos);
    EXPECT(after_read.find("guilty_read") != std::string::npos);
    const std::string after_write = printed_by([&] { guilty_write(at); }, status);
    EXPECT(status != 0);
    EXPECT(after_write.find("use-after-poison") != std::string::npos);
    EXPECT(after_write.find("guilty_write") != std::string::npos);

    ASSERT(world->physical().allocate(Order{3}).ok());
    const std::string ours_again = printed_by([&] { guilty_write(at); }, status);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(ours_again, "");
  }
}
