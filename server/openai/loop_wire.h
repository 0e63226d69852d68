// From the service's calls, which report on the engine's thread, to what answers on the loop's.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "server/openai/loop.h"
#include "server/service/generate_event.h"
#include "server/service/outbox.h"

namespace fmaserver::openai {

/// Reads what its calls report, on the loop's thread alone. `call` tells them apart.
template <class Event>
class EventReader {
 public:
  virtual ~EventReader() = default;
  /// The call waits for OnWritten before the next event.
  virtual void OnEvent(size_t call, Event event) = 0;
  virtual void OnEnd(size_t call, const absl::Status& status) = 0;
};

using GenerationReader = EventReader<service::GenerateEvent>;

/// The wire of one call of `reader`, which it holds until its end. `loop` outlives it.
template <class Event>
class LoopWire final : public service::EventWire<Event> {
 public:
  LoopWire(Loop& loop, std::shared_ptr<EventReader<Event>> reader, size_t call)
      : loop_(loop), reader_(std::move(reader)), call_(call) {}
  ~LoopWire() override {
    if (reader_ != nullptr) loop_.Post([reader = std::move(reader_)] {});
  }

  bool Write(const Event& event) override {
    loop_.Post([reader = reader_, call = call_, event = Event(event)]() mutable {
      reader->OnEvent(call, std::move(event));
    });
    return true;
  }
  void Finish(const absl::Status& status) override {
    loop_.Post(
        [reader = std::move(reader_), call = call_, status] { reader->OnEnd(call, status); });
  }

 private:
  Loop& loop_;
  std::shared_ptr<EventReader<Event>> reader_;
  const size_t call_;
};

}  // namespace fmaserver::openai
