// A dynamic module for tests. To the header x-module of requests it adds its filter name and its configuration, and
// requests with a header x-refuse it answers itself. The declarations are what it needs of Envoy's ABI v0.2.0.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const char *ptr;
  size_t length;
} buffer;

typedef struct {
  char text[512];
} config;

typedef struct {
  const config *config;
} filter;

enum { request_header = 0, carry_on = 0, stop = 1 };

bool envoy_dynamic_module_callback_http_get_header(void *envoy, int map, buffer key, buffer *value, size_t index,
                                                   size_t *count);
bool envoy_dynamic_module_callback_http_add_header(void *envoy, int map, buffer key, buffer value);
void envoy_dynamic_module_callback_http_send_response(void *envoy, uint32_t status, void *headers, size_t count,
                                                      buffer body, buffer details);

static buffer of(const char *text) { return (buffer){text, strlen(text)}; }

const char *envoy_dynamic_module_on_program_init(void) { return "v0.2.0"; }

const void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, buffer name, buffer text) {
  if (name.length == strlen("broken") && memcmp(name.ptr, "broken", name.length) == 0) return NULL;
  config *c = calloc(1, sizeof *c);
  if (c != NULL)
    snprintf(c->text, sizeof c->text, "%.*s%s%.*s", (int)name.length, name.ptr, text.length > 0 ? " " : "",
             (int)text.length, text.ptr);
  return c;
}

void envoy_dynamic_module_on_http_filter_config_destroy(const void *c) { free((void *)c); }

const void *envoy_dynamic_module_on_http_filter_new(const void *c, void *envoy) {
  filter *f = malloc(sizeof *f);
  if (f != NULL) f->config = c;
  return f;
}

void envoy_dynamic_module_on_http_filter_destroy(const void *f) { free((void *)f); }

int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, const void *f, bool end) {
  buffer found;
  size_t count;
  if (envoy_dynamic_module_callback_http_get_header(envoy, request_header, of("x-refuse"), &found, 0, &count)) {
    envoy_dynamic_module_callback_http_send_response(envoy, 418, NULL, 0, of("refused by the module"), of("module"));
    return stop;
  }
  const filter *self = f;
  envoy_dynamic_module_callback_http_add_header(envoy, request_header, of("x-module"), of(self->config->text));
  return carry_on;
}

int envoy_dynamic_module_on_http_filter_request_body(void *envoy, const void *f, bool end) { return carry_on; }
int envoy_dynamic_module_on_http_filter_request_trailers(void *envoy, const void *f) { return carry_on; }
int envoy_dynamic_module_on_http_filter_response_headers(void *envoy, const void *f, bool end) { return carry_on; }
int envoy_dynamic_module_on_http_filter_response_body(void *envoy, const void *f, bool end) { return carry_on; }
int envoy_dynamic_module_on_http_filter_response_trailers(void *envoy, const void *f) { return carry_on; }

// Envoy wants all of its hooks to be there.
#define UNUSED(hook) \
  void envoy_dynamic_module_on_http_filter_##hook(void) {}
UNUSED(stream_complete)
UNUSED(http_callout_done)
UNUSED(http_stream_headers)
UNUSED(http_stream_data)
UNUSED(http_stream_trailers)
UNUSED(http_stream_complete)
UNUSED(http_stream_reset)
UNUSED(scheduled)
UNUSED(downstream_above_write_buffer_high_watermark)
UNUSED(downstream_below_write_buffer_low_watermark)
