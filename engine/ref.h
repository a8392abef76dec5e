// An intrusive counted pointer: one word, atomic counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace heed {

/// Base of what Ref counts. A derived type says in `dispose()` how it goes away.
class Counted {
 public:
  uint32_t use_count() const noexcept { return count_.load(std::memory_order_acquire); }

 protected:
  Counted() = default;
  Counted(Counted const&) = delete;
  ~Counted() = default;

 private:
  template <class T>
  friend class Ref;
  std::atomic<uint32_t> count_{0};
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) noexcept : object_(object) {
    if (object_) object_->count_.fetch_add(1, std::memory_order_relaxed);
  }
  Ref(Ref const& other) noexcept : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    // A unique owner needs no read-modify-write: nobody else can be adding a reference.
    if (object_ && (object_->count_.load(std::memory_order_acquire) == 1 ||
                    object_->count_.fetch_sub(1, std::memory_order_acq_rel) == 1))
      object_->dispose();
  }
  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_; }
  friend bool operator==(Ref const& a, Ref const& b) noexcept { return a.object_ == b.object_; }

 private:
  T* object_ = nullptr;
};

}  // namespace heed
