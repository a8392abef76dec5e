// rt.h by CUDA's own runtime.
#include <heed/engine/cuda/rt.h>

#include <cstdio>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace rt {

Status status_of(cudaError_t error) {
  if (error == cudaSuccess) return {};
  Kind kind = Kind::other;
  if (error == cudaErrorMemoryAllocation) kind = Kind::out_of_memory;
  if (error == cudaErrorInvalidConfiguration || error == cudaErrorLaunchOutOfResources ||
      error == cudaErrorInvalidValue)
    kind = Kind::bad_launch;
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice || error == cudaErrorInitializationError)
    kind = Kind::no_driver;
  (void)cudaGetLastError();  // an error that can be recovered from is not reported again
  return {kind, int(error), cudaGetErrorString(error)};
}

namespace {
cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(Event event) { return static_cast<cudaEvent_t>(event); }

Status asked(cudaError_t error, bool& done) {
  done = error == cudaSuccess;
  return error == cudaErrorNotReady ? Status{} : status_of(error);
}
}  // namespace

Status device_count(int& count) {
  Status const status = status_of(cudaGetDeviceCount(&count));
  if (!status) count = 0;
  return status;
}

Status facts(int device, DeviceFacts& to) {
  cudaDeviceProp found;
  if (Status const status = status_of(cudaGetDeviceProperties(&found, device)); !status) return status;
  std::snprintf(to.name, sizeof to.name, "%s", found.name);
  to.compute_major = found.major, to.compute_minor = found.minor;
  to.multiprocessors = found.multiProcessorCount;
  to.memory = found.totalGlobalMem, to.shared_per_block = found.sharedMemPerBlockOptin;
  return {};
}

Status set_device(int device) { return status_of(cudaSetDevice(device)); }

Status allocate(void*& to, size_t bytes) { return status_of(cudaMalloc(&to, bytes)); }
Status release(void* block) { return status_of(cudaFree(block)); }
Status allocate_pinned(void*& to, size_t bytes) { return status_of(cudaMallocHost(&to, bytes)); }
Status release_pinned(void* block) { return status_of(cudaFreeHost(block)); }

Status create_stream(Stream& to) {
  cudaStream_t made;
  Status const status = status_of(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  if (status) to = made;
  return status;
}
Status destroy_stream(Stream stream) { return status_of(cudaStreamDestroy(stream_of(stream))); }
Status synchronize(Stream stream) { return status_of(cudaStreamSynchronize(stream_of(stream))); }
Status query(Stream stream, bool& done) { return asked(cudaStreamQuery(stream_of(stream)), done); }

Status create_event(Event& to) {
  cudaEvent_t made;
  Status const status = status_of(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
  if (status) to = made;
  return status;
}
Status destroy_event(Event event) { return status_of(cudaEventDestroy(event_of(event))); }
Status record(Event event, Stream stream) { return status_of(cudaEventRecord(event_of(event), stream_of(stream))); }
Status wait(Stream stream, Event event) {
  return status_of(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}
Status query_event(Event event, bool& done) { return asked(cudaEventQuery(event_of(event)), done); }
Status synchronize_event(Event event) { return status_of(cudaEventSynchronize(event_of(event))); }

Status copy_to_device(void* to, void const* from, size_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}
Status copy_to_host(void* to, void const* from, size_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}
Status copy_on_device(void* to, void const* from, size_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(stream)));
}
Status fill_bytes(void* to, int byte, size_t bytes, Stream stream) {
  return status_of(cudaMemsetAsync(to, byte, bytes, stream_of(stream)));
}

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
