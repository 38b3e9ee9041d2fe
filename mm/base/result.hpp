// Result<T>: a value or an Error, never both, never ignored. TRY() passes an Error upward.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

namespace memory {

// What can go wrong, declared once: ERROR(name, errno of the C face, what it means).
// The misuse errors (first to last below) say that the caller broke the contract of a release.
#define MEMORY_ERRORS(ERROR)                                                     \
  ERROR(ok, 0, "success")                                                        \
  ERROR(no_memory, 12, "out of memory")                                          \
  ERROR(invalid, 22, "invalid argument")                                         \
  ERROR(exists, 17, "already present")                                           \
  ERROR(not_found, 2, "not found")                                               \
  ERROR(no_access, 13, "access denied")                                          \
  ERROR(busy, 16, "busy")                                                        \
  ERROR(too_big, 7, "too big for its buffer or table")                           \
  ERROR(unsupported, 95, "not in this build; 'make guarded' has it")             \
  ERROR(double_free, 22, "double free")                                          \
  ERROR(wrong_order, 22, "freed with another order than it was allocated with")  \
  ERROR(wild_free, 22, "free of a frame that does not exist")                    \
  ERROR(reserved_free, 22, "free of a reserved frame")                           \
  ERROR(interior_free, 22, "free of the inside of a block")                      \
  ERROR(wild_range, 22, "free of kernel addresses that nobody has")              \
  ERROR(wrong_range, 22, "free of kernel addresses that are for something else") \
  ERROR(shared_free, 22, "free of a block that others still refer to")           \
  ERROR(wild_object, 22, "free of an address that is no object")                 \
  ERROR(interior_object, 22, "free of the inside of an object")                  \
  ERROR(wrong_cache, 22, "freed to another cache than it was allocated from")    \
  ERROR(wrong_size, 22, "freed with another size than it was allocated with")    \
  ERROR(overflow, 22, "written past the end of an object")                       \
  ERROR(underflow, 22, "written before the start of an object")                  \
  ERROR(use_after_free, 22, "written to an object after its release")            \
  ERROR(corrupt_header, 22, "header of a heap block overwritten")                \
  ERROR(corrupt_link, 22, "link of a free heap block overwritten")

enum class [[nodiscard]] Error : std::uint8_t {
#define ERROR(name, number, text) name,
  MEMORY_ERRORS(ERROR)
#undef ERROR
};

inline constexpr unsigned kErrors = 0
#define ERROR(name, number, text) +1  // NOLINT(bugprone-macro-parentheses): one summand for each
    MEMORY_ERRORS(ERROR)
#undef ERROR
    ;

constexpr bool is_misuse(Error error) { return error >= Error::double_free && error <= Error::corrupt_link; }
// Of these, what says that somebody wrote where he should not.
constexpr bool is_corruption(Error error) {
  return error == Error::corrupt_header || error == Error::corrupt_link;
}

// That somebody wrote beside an object which is his.
constexpr bool is_overrun(Error error) { return error == Error::overflow || error == Error::underflow; }

// The error's name as it is spelt here ("no_memory"), for programs.
constexpr std::string_view name_of(Error error) {
  constexpr std::string_view kNames[] = {
#define ERROR(name, number, text) #name,
      MEMORY_ERRORS(ERROR)
#undef ERROR
  };
  return kNames[static_cast<unsigned>(error)];
}

// One clause for people ("out of memory").
constexpr std::string_view text_of(Error error) {
  constexpr std::string_view kTexts[] = {
#define ERROR(name, number, text) text,
      MEMORY_ERRORS(ERROR)
#undef ERROR
  };
  return kTexts[static_cast<unsigned>(error)];
}

// Linux's errno, positive; 0 for ok.
constexpr int errno_of(Error error) {
  constexpr std::uint8_t kNumbers[] = {
#define ERROR(name, number, text) number,
      MEMORY_ERRORS(ERROR)
#undef ERROR
  };
  return kNumbers[static_cast<unsigned>(error)];
}

template <typename T>
class [[nodiscard]] Result {
  static_assert(std::is_trivially_copyable_v<T>, "results carry records, handles and pointers");

 public:
  constexpr Result(T value) : value_(value) {}
  constexpr Result(Error error) : error_(error) {}

  constexpr bool ok() const { return error_ == Error::ok; }
  constexpr Error error() const { return error_; }
  // Precondition: ok().
  constexpr T take() const { return value_; }

 private:
  union {
    T value_;
    char none_ = 0;
  };
  Error error_ = Error::ok;
};

// A pointer and an Error share eight bytes: no object lives in the first 256 bytes of memory.
template <typename T>
class [[nodiscard]] Result<T*> {
 public:
  // Precondition: `value` is not null (null would read as Error::ok with nothing in hand).
  constexpr Result(T* value) : value_(value) {}
  Result(Error error) : value_(reinterpret_cast<T*>(static_cast<std::uintptr_t>(error))) {}

  bool ok() const { return reinterpret_cast<std::uintptr_t>(value_) > 0xff; }
  Error error() const {
    return ok() ? Error::ok
                : static_cast<Error>(static_cast<std::uint8_t>(reinterpret_cast<std::uintptr_t>(value_)));
  }
  T* take() const { return value_; }

 private:
  T* value_;
};
static_assert(sizeof(Result<int*>) == 8);

template <>
class [[nodiscard]] Result<void> {
 public:
  constexpr Result(Error error = Error::ok) : error_(error) {}

  constexpr bool ok() const { return error_ == Error::ok; }
  constexpr Error error() const { return error_; }
  constexpr void take() const {}

 private:
  Error error_;
};

// The value of `expression`, or an early return of its Error.
#define TRY(expression)                \
  ({                                   \
    auto try_result = (expression);    \
    if (!try_result.ok()) [[unlikely]] \
      return try_result.error();       \
    try_result.take();                 \
  })

}  // namespace memory
