#include "server/engine/archive_need.h"

#include <algorithm>
#include <iterator>

namespace fmaserver::engine {

bool Opens(const GenerateRequest& request, const kernels::ArchiveLayout& layout) {
  return layout && !request.no_archive &&
         std::ssize(request.state.archive) == layout.Groups(request.state.tokens());
}

int64_t GroupsAtEnd(const GenerateRequest& request, const model::ModelConfig& config,
                    const kernels::ArchiveLayout& layout) {
  constexpr int64_t kMostTokens = int64_t{1} << 40;  // no sum overflows
  const int64_t prompt_end = request.state.tokens() + std::ssize(request.prompt);
  const int64_t left = std::min(request.max_tokens, kMostTokens) - std::ssize(request.generated);
  // The last token chosen is not fed.
  const int64_t end =
      std::min(prompt_end + std::max<int64_t>(0, left) - 1, config.MaxSequenceLength());
  return layout.Groups(std::max(end, prompt_end - 1));
}

int64_t ArchiveNeed(const GenerateRequest& request, const model::ModelConfig& config,
                    const kernels::ArchiveLayout& layout, int64_t held) {
  // The other samples share what the first has when the prompt's last token is left to read.
  const int64_t shared = layout.Groups(request.state.tokens() + std::ssize(request.prompt) - 1);
  const int64_t all = GroupsAtEnd(request, config, layout);
  return all - held + (request.n - 1) * (all - shared);
}

}  // namespace fmaserver::engine
