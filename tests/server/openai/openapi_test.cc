// docs/openapi.yaml has the fields that the door takes, and no others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <span>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "server/openai/embedding_request.h"
#include "server/openai/response_request.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::openai {
namespace {

using ::testing::IsSupersetOf;
using Names = std::set<std::string>;

/// The names in the first `properties` of a schema.
void AddDescribed(const std::string& schema, Names& names) {
  std::istringstream file(testing::ReadFile(FMA_OPENAPI));
  std::string line;
  const std::string head = absl::StrCat("    ", schema, ":");
  while (std::getline(file, line) && line != head) continue;
  size_t indent = 0;
  while (std::getline(file, line)) {
    const size_t start = line.find_first_not_of(' ');
    if (start <= head.find_first_not_of(' ') || (indent > 0 && start < indent)) break;
    if (indent == start) names.insert(line.substr(start, line.find(':') - start));
    if (indent == 0 && line.substr(start) == "properties:") indent = start + 2;
  }
  EXPECT_GT(indent, 0) << schema;
}

Names Described(std::initializer_list<const char*> schemas) {
  Names names;
  for (const char* schema : schemas) AddDescribed(schema, names);
  return names;
}

Names In(std::initializer_list<std::span<const Field>> tables) {
  Names names;
  for (const std::span<const Field> table : tables) {
    for (const Field& field : table) names.emplace(field.name);
  }
  return names;
}

/// Every field that is taken is described, and what else is described is at least known.
void ExpectDescribed(const Names& described, const Names& taken, const Names& absent) {
  EXPECT_THAT(described, IsSupersetOf(taken));
  Names known = taken;
  known.insert(absent.begin(), absent.end());
  EXPECT_THAT(known, IsSupersetOf(described));
}

TEST(OpenApiTest, DescribesCompletions) {
  ExpectDescribed(Described({"Choosing", "Common", "CompletionRequest"}),
                  In({CommonFields(), CompletionFields()}), In({AbsentFields()}));
}

TEST(OpenApiTest, DescribesChats) {
  ExpectDescribed(Described({"Choosing", "Common", "ChatRequest"}),
                  In({CommonFields(), ChatFields()}), In({AbsentFields()}));
}

TEST(OpenApiTest, DescribesEmbeddings) {
  Names taken;
  for (const EmbeddingField& field : EmbeddingFields()) taken.emplace(field.name);
  Names described = Described({"EmbeddingRequest"});
  EXPECT_TRUE(described.erase("user") == 1) << "a field without effect that all clients know";
  EXPECT_EQ(described, taken);
}

TEST(OpenApiTest, DescribesResponses) {
  Names taken = In({CommonFields(), ResponseFields()});
  for (const Field& field : AbsentFromResponses()) taken.erase(std::string(field.name));
  ExpectDescribed(Described({"Choosing", "ResponseRequest"}), taken,
                  In({AbsentFields(), AbsentFromResponses()}));
}

}  // namespace
}  // namespace fmaserver::openai
