// Renders conversations for tests/e2e/test_chat_template.py, which asks Jinja2 about the same ones.
//
//     render_chats < REQUESTS > ANSWERS
//
// A request is a line of JSON, {"template": ..., "specials": {...}, "messages": [{"role": ...,
// "content": ...}], "after_answer": bool}; its answer is {"text": ..., "written": [[begin, end]]},
// in bytes, or {"error": ...}. It is always Friday, 2024-07-26 12:34:56.
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "model_loader/chat_template/chat_template.h"
#include "nlohmann/json.hpp"

namespace {

using fmaserver::chat::ChatTemplate;
using fmaserver::chat::Message;
using nlohmann::json;

std::tm Friday() {
  std::tm time = {};
  time.tm_year = 124;
  time.tm_mon = 6;
  time.tm_mday = 26;
  time.tm_wday = 5;
  time.tm_yday = 207;
  time.tm_hour = 12;
  time.tm_min = 34;
  time.tm_sec = 56;
  return time;
}

json Answer(const json& request) {
  const auto made = ChatTemplate::Parse(request.at("template").get<std::string>(), "template",
                                        request.at("specials"), Friday);
  if (!made.ok()) return {{"error", std::string(made.status().message())}};
  std::vector<Message> messages;
  for (const json& message : request.at("messages")) {
    messages.push_back({message.at("role"), message.at("content")});
  }
  const bool after = request.value("after_answer", false);
  const auto rendering = after ? (*made)->RenderAfterAnswer(messages) : (*made)->Render(messages);
  if (!rendering.ok()) return {{"error", std::string(rendering.status().message())}};
  json written = json::array();
  for (const auto& range : rendering->written) written.push_back({range.begin, range.end});
  return {{"text", rendering->text}, {"written", written}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Answer(json::parse(line)).dump() << "\n";
  }
}
