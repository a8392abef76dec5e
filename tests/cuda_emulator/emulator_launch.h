// rt::launch of the emulator: the arguments are kept as one object, which every thread of the kernel reads.
#pragma once

#include <memory>
#include <tuple>

namespace heed {
inline namespace emu {

/// A kernel with its arguments, whatever their types.
struct Call {
  void (*run)(void const* values) = nullptr;  // the kernel of one thread
  std::shared_ptr<void const> values;
  size_t bytes = 0;  // of *values: kernels may read it
};
rt::Status enqueue(Call&& call, rt::Launch const& how);

}  // namespace emu

inline namespace HEED_DEVICE_LEVEL {
namespace rt {

template <class... P, class... A>
Status launch(void (*kernel)(P...), Launch const& how, A const&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel takes as many arguments as its launch gives");
  static_assert((std::is_trivially_copyable_v<P> && ...), "arguments of kernels are copied as bytes");
  struct Values {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  };
  emu::Call call;
  call.run = [](void const* values) {
    auto const& all = *static_cast<Values const*>(values);
    std::apply(all.kernel, all.arguments);
  };
  call.values = std::make_shared<Values const>(Values{kernel, {static_cast<P>(arguments)...}});
  call.bytes = sizeof(Values);
  return emu::enqueue(std::move(call), how);
}

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
