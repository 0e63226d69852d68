// What a request needs of an archive, known before it begins.
#pragma once

#include <cstdint>

#include "kernels/fma/archive_layout.h"
#include "model_loader/model_config.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// Whether the request opens units of an archive: it wants to, and its state has archived what
/// there was to archive. A state without its archive can never open them again.
bool Opens(const GenerateRequest& request, const kernels::ArchiveLayout& layout);

/// How many groups each sample of a valid request that opens units has in the end, at most.
int64_t GroupsAtEnd(const GenerateRequest& request, const model::ModelConfig& config,
                    const kernels::ArchiveLayout& layout);

/// How many groups its samples together write at most, when the first begins with a state of `held`
/// groups.
int64_t ArchiveNeed(const GenerateRequest& request, const model::ModelConfig& config,
                    const kernels::ArchiveLayout& layout, int64_t held);

}  // namespace fmaserver::engine
