// Words for clang's -Wthread-safety; GCC ignores them. The analysis does not see through lambdas: no lambda
// touches a GUARDED_BY member. SPDX-License-Identifier: MIT
#pragma once

#if defined(__clang__)
#define THREAD_ANNOTATION(...) __attribute__((__VA_ARGS__))
#else
#define THREAD_ANNOTATION(...)
#endif

#define CAPABILITY(name) THREAD_ANNOTATION(capability(name))  // the class is a lock
#define SCOPED_CAPABILITY THREAD_ANNOTATION(scoped_lockable)  // the class holds a lock while it lives
#define GUARDED_BY(lock) THREAD_ANNOTATION(guarded_by(lock))
#define REQUIRES(...) THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS THREAD_ANNOTATION(no_thread_safety_analysis)
