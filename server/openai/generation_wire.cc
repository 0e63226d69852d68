#include "server/openai/generation_wire.h"

#include <utility>

namespace fmaserver::openai {
namespace {

using service::GenerateEvent;

class LoopWire final : public service::EventWire<GenerateEvent> {
 public:
  LoopWire(Loop& loop, std::shared_ptr<GenerationReader> reader, size_t call)
      : loop_(loop), reader_(std::move(reader)), call_(call) {}
  ~LoopWire() override {
    if (reader_ != nullptr) loop_.Post([reader = std::move(reader_)] {});
  }

  bool Write(const GenerateEvent& event) override {
    loop_.Post([reader = reader_, call = call_, event = GenerateEvent(event)]() mutable {
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
  std::shared_ptr<GenerationReader> reader_;
  const size_t call_;
};

}  // namespace

std::shared_ptr<service::Generation::Wire> WireTo(Loop& loop,
                                                  std::shared_ptr<GenerationReader> reader,
                                                  size_t call) {
  return std::make_shared<LoopWire>(loop, std::move(reader), call);
}

}  // namespace fmaserver::openai
