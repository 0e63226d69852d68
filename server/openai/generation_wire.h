// From the service's calls, which report on the engine's thread, to what answers on the loop's.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "server/openai/loop.h"
#include "server/service/generation.h"

namespace fmaserver::openai {

/// Reads what its calls report, on the loop's thread alone. `call` tells them apart.
class GenerationReader {
 public:
  virtual ~GenerationReader() = default;
  /// The call waits for OnWritten before the next event.
  virtual void OnEvent(size_t call, service::GenerateEvent event) = 0;
  virtual void OnEnd(size_t call, const absl::Status& status) = 0;
};

/// The wire of one call of `reader`, which it holds until its end. `loop` outlives it.
std::shared_ptr<service::Generation::Wire> WireTo(Loop& loop,
                                                  std::shared_ptr<GenerationReader> reader,
                                                  size_t call);

}  // namespace fmaserver::openai
