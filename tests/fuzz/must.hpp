// MUST: what a fuzzer says where the code under it broke a promise.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdio>
#include <cstdlib>

#define MUST(condition)                                                          \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::fprintf(stderr, "%s:%d: MUST(%s)\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                              \
    }                                                                            \
  } while (false)
