// What a carrier of messages between ranks does. The collectives (host.cpp) are made of it; a carrier of one's own is
// one class. It needs nothing of heed, so that a module loaded at run time can have one.
#pragma once

#include <cstddef>
#include <string>

namespace heed::distributed {

/// Calls come from one thread at a time. Nothing blocks for long; nothing throws.
class Transport {
 public:
  enum class State { pending, done, failed };

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual char const* name() const = 0;
  /// Bytes that one message holds at most.
  virtual size_t largest_message() const = 0;

  /// Begin a message; the bytes stay where they are until test() says done. Messages between two ranks with one tag
  /// arrive in order, and only a receive of that tag takes them. A receive holds `bytes` or less.
  virtual int send(int to, int tag, void const* data, size_t bytes) = 0;
  virtual int receive(int from, int tag, void* data, size_t bytes) = 0;
  /// After done or failed the number is free for others.
  virtual State test(int request) = 0;
  /// What failed, after State::failed.
  virtual std::string failure() const = 0;

  /// Whether the rank's process is there still, as far as can be seen from here.
  virtual bool alive(int rank) = 0;
  /// Whether messages move only while some rank calls test(): such a carrier is asked now and then, and its ranks wait
  /// for each other at the end.
  virtual bool needs_progress() const = 0;
  /// Ends every request: after it returns no memory of theirs is touched. False where the carrier cannot promise that.
  virtual bool abandon() = 0;
  /// No call comes any more; `agreed`: every rank has said that it ended.
  virtual void close(bool agreed) = 0;
};

}  // namespace heed::distributed
