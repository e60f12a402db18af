/* The kernel's IPMI device, for one process: a library to preload that answers for /dev/ipmi0 as the driver would.

   Structures and ioctl numbers are those of <linux/ipmi.h>. The BMC behind it knows Get Device ID and DCMI Get Power
   Reading; its watts are the content of the file named by IPMI_DEVICE_WATTS. Not in it: events, channels, bridging. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/ipmi.h>

static const char DEVICE[] = "/dev/ipmi0";
static int device_fd = -1;
static struct { long msgid; unsigned char netfn, cmd, data[32]; unsigned short length; } answer;

static unsigned watts(void)
{
    unsigned value = 0;
    FILE *file = fopen(getenv("IPMI_DEVICE_WATTS"), "r");
    if (file != NULL) {
        if (fscanf(file, "%u", &value) != 1)
            value = 0;
        fclose(file);
    }
    return value;
}

static void think(const struct ipmi_msg *request)
{
    static const unsigned char identity[] = {0, 0x20, 1, 2, 0x45, 2, 0x0f, 0xa2, 2, 0, 2, 0};
    answer.netfn = request->netfn | 1;
    answer.cmd = request->cmd;
    answer.data[0] = IPMI_INVALID_CMD_COMPLETION_CODE;
    answer.length = 1;
    if (request->netfn == 0x06 && request->cmd == 0x01) {
        memcpy(answer.data, identity, sizeof identity);
        answer.length = sizeof identity;
    } else if (request->netfn == 0x2c && request->cmd == 0x02 && request->data_len == 4 && request->data[0] == 0xdc) {
        unsigned now = watts();
        memset(answer.data, 0, 19);
        answer.data[1] = 0xdc;
        answer.data[2] = now & 0xff;
        answer.data[3] = now >> 8;
        answer.data[18] = 0x40;
        answer.length = 19;
    }
}

static int send_command(const struct ipmi_req *request)
{
    const struct ipmi_system_interface_addr *address = (const void *)request->addr;
    unsigned long long one = 1;
    if (request->addr_len < sizeof *address || address->addr_type != IPMI_SYSTEM_INTERFACE_ADDR_TYPE
        || address->channel != IPMI_BMC_CHANNEL || address->lun != 0) {
        errno = EINVAL;
        return -1;
    }
    answer.msgid = request->msgid;
    think(&request->msg);
    return write(device_fd, &one, sizeof one) == sizeof one ? 0 : -1;
}

static int receive(struct ipmi_recv *received)
{
    struct ipmi_system_interface_addr address = {IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL, 0};
    unsigned long long count;
    if (read(device_fd, &count, sizeof count) != sizeof count)
        return -1; /* EAGAIN: nothing is there */
    if (received->addr_len < sizeof address || received->msg.data_len < answer.length) {
        errno = EMSGSIZE;
        return -1;
    }
    memcpy(received->addr, &address, sizeof address);
    received->addr_len = sizeof address;
    received->recv_type = IPMI_RESPONSE_RECV_TYPE;
    received->msgid = answer.msgid;
    received->msg.netfn = answer.netfn;
    received->msg.cmd = answer.cmd;
    memcpy(received->msg.data, answer.data, answer.length);
    received->msg.data_len = answer.length;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fd != device_fd || fd < 0) {
        int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        return next(fd, request, argument);
    }
    switch ((unsigned)request) {
    case (unsigned)IPMICTL_SEND_COMMAND:
        return send_command(argument);
    case (unsigned)IPMICTL_RECEIVE_MSG_TRUNC:
        return receive(argument);
    case (unsigned)IPMICTL_SET_GETS_EVENTS_CMD:
    case (unsigned)IPMICTL_SET_MY_ADDRESS_CMD:
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}

static int open_by(const char *name, const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    if (strcmp(path, DEVICE) != 0)
        return next(path, flags, mode);
    device_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return device_fd;
}

#define OPEN(name)                                         \
    int name(const char *path, int flags, ...)             \
    {                                                      \
        va_list arguments;                                 \
        va_start(arguments, flags);                        \
        mode_t mode = va_arg(arguments, mode_t);           \
        va_end(arguments);                                 \
        return open_by(#name, path, flags, mode);          \
    }
OPEN(open)
OPEN(open64)
