// rt::launch of the emulator: the arguments are kept as one object, which every thread of the kernel reads.
#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace heed {
inline namespace emu {

/// A kernel with its arguments, whatever their types.
struct Call {
  void (*run)(void const* values) = nullptr;  // the kernel of one thread
  std::shared_ptr<void const> values;
  size_t bytes = 0;  // of *values: kernels may read it
  void const* kernel = nullptr;
  struct Argument {
    size_t offset, bytes;  // in *values
  };
  std::vector<Argument> arguments;
};
rt::Status enqueue(Call&& call, rt::Launch const& how);

/// Where set, it is asked first, and says whether it ran the kernel; in `error`, what went wrong.
extern bool (*instead)(Call const& call, rt::Launch const& how, std::string& error);

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
  call.kernel = reinterpret_cast<void const*>(kernel);
  auto const offset = [&](auto const& value) {
    return size_t(reinterpret_cast<char const*>(&value) - static_cast<char const*>(call.values.get()));
  };
  std::apply(
      [&](P const&... value) {
        call.arguments = {{offset(value), sizeof(P)}...};
      },
      static_cast<Values const*>(call.values.get())->arguments);
  return emu::enqueue(std::move(call), how);
}

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
