// Depot: a cache's magazines that no CPU has loaded.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>

#include "mm/heap/object_magazine.hpp"

namespace memory {

// Standard layout. Every magazine of `full` holds something, those of `empty` nothing. Lives inside the cache's lock of
// rank depot.
struct Depot {
  using Magazines = List<ObjectMagazine, offsetof(ObjectMagazine, node)>;

  Magazines full;
  Magazines empty;
};

}  // namespace memory
