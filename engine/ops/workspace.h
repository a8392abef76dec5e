// Working memory of one task of a kernel.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/storage.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Memory from the caching allocator, carved into 64-byte aligned pieces.
class Workspace {
 public:
  explicit Workspace(int64_t bytes) : storage_(Storage::allocate(size_t(bytes))) {}

  template <class U>
  U* take(int64_t count) {
    U* const piece = reinterpret_cast<U*>(storage_->data() + used_);
    used_ += room<U>(count);
    return piece;
  }
  template <class U>
  static int64_t room(int64_t count) {
    return round_up(count * int64_t(sizeof(U)), 64);
  }

 private:
  Ref<Storage> storage_;
  int64_t used_ = 0;
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
