// Published<T>: a word that readers load without a lock, and Unpublished<T>: the proof that they no
// longer can.
//
// Memory that readers may hold is freed in two steps: first no reader can find it any more, then,
// after a grace period, nobody holds it (base/qsbr.h). The order is what matters: if the grace
// period begins while the word still leads there, a reader that comes after it finds what is about
// to be freed. So Qsbr::Retire() takes an Unpublished<T> and nothing else, and only the exchange
// that took a word away from readers makes one. What cannot be retired too early does not need to
// be reviewed.
//
// Writers serialise among themselves; T is trivially copyable, and T() means that there is nothing.
#pragma once

#include <atomic>
#include <utility>

#include "base/sync.h"

namespace pollux {

template <typename T>
class Published;

// What readers that come from here on do not find. It is retired, or published again.
template <typename T>
class [[nodiscard]] Unpublished {
 public:
  Unpublished() = default;  // Of nothing.
  Unpublished(Unpublished&& other) noexcept : what_(std::exchange(other.what_, T())) {}
  Unpublished& operator=(Unpublished&& other) noexcept {
    POLLUX_DCHECK(what_ == T());
    what_ = std::exchange(other.what_, T());
    return *this;
  }
  Unpublished(const Unpublished&) = delete;
  Unpublished& operator=(const Unpublished&) = delete;
  // What is neither retired nor published again would be lost.
  ~Unpublished() { POLLUX_DCHECK(what_ == T()); }

  // For whoever publishes it again, or frees it after the readers have gone.
  T Take() { return std::exchange(what_, T()); }

 private:
  friend class Published<T>;
  explicit Unpublished(T what) : what_(what) {}

  T what_{};
};

template <typename T>
class Published {
 public:
  Published() = default;
  explicit Published(T what) : word_(what) {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // --- Readers.

  T Get() const { return word_.load(std::memory_order_acquire); }

  // --- The writer.

  // Where nothing was.
  void Publish(T what) {
    POLLUX_DCHECK(word_.load(std::memory_order_relaxed) == T());
    word_.store(what, std::memory_order_release);
  }
  // The answer is what was there before.
  Unpublished<T> Replace(T what) {
    Unpublished<T> old(word_.load(std::memory_order_relaxed));
    word_.store(what, std::memory_order_release);
    return old;
  }
  Unpublished<T> Unpublish() { return Replace(T()); }

 private:
  std::atomic<T> word_{T()};
};

}  // namespace pollux
