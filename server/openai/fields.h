// Tables of fields: the names in a JSON body, and where each value goes.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/openai/generate_job.h"
#include "server/openai/value.h"

namespace fmaserver::openai {

struct Field {
  std::string_view name;
  absl::Status (*read)(const Value&, GenerateJob&);
};

/// Reads each field of `body` that the tables know. One that is null counts as absent, and the name
/// of one that no table knows is added to `job.ignored`. INVALID_ARGUMENT names the field.
absl::Status ReadFields(const nlohmann::json& body,
                        std::initializer_list<std::span<const Field>> tables, GenerateJob& job);

/// Of completions, chats and responses: how tokens are chosen and where they end, what else is
/// asked of them, and how the answer comes.
std::span<const Field> CommonFields();

/// Of all of them: what would change the answer, and is not there.
std::span<const Field> AbsentFields();

/// A field that must say nothing: refuses all but false, "", [], {} and what is named as usual.
absl::Status MustBeUnset(const Value& value, GenerateJob& job);
absl::Status MustBeTrue(const Value& value, GenerateJob& job);
absl::Status MustBeFalse(const Value& value, GenerateJob& job);

}  // namespace fmaserver::openai
